import time, sys, torch
from train import *
from batches import make_batch
from tokenizer import MiniTokenizer
torch.set_num_threads(2)
res=int(sys.argv[1]); mode=sys.argv[2] if len(sys.argv)>2 else ''
model=build_model(res); step=Step(model)
t=MiniTokenizer(); pad=special_ids()['pad']
data=[tensors(make_batch(5,i,t,8,4,res),pad) for i in range(4)]
opt=torch.optim.AdamW(step.parameters(),lr=1e-4,fused=True)
if 'c' in mode:
    for name in ("backbone","neck","encode","decode","pixels_of","masks_of"):
        setattr(step.net,name,torch.compile(getattr(step.net,name),dynamic=False))
def one(d):
    g=torch.Generator().manual_seed(1)
    with torch.autocast('cpu',torch.bfloat16,enabled='b' in mode):
        l=step(d,0.1,g)
    loss=sum(WEIGHTS[k]*v for k,v in l.items())
    opt.zero_grad(); loss.backward(); torch.nn.utils.clip_grad_norm_(step.parameters(),1.0); opt.step()
    return loss.item()
t0=time.time(); print(one(data[0])); print('first',time.time()-t0)
for d in data: one(d)
t0=time.time()
for d in data+data: one(d)
print(res,mode,'s/step',(time.time()-t0)/8)
if 'p' in mode:
    with torch.profiler.profile() as prof:
        for d in data[:2]: one(d)
    print(prof.key_averages().table(sort_by='self_cpu_time_total',row_limit=22,max_name_column_width=50))
