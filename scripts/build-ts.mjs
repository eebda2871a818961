// npm run build:ts: TypeScript to dist/.
import { typeScript } from "./lib/prepare.mjs";

await typeScript();
