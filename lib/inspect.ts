/** Key under which Node's `util.inspect` and REPL look for an object's own one-line form. */
export const INSPECT: unique symbol = Symbol.for("nodejs.util.inspect.custom") as never;
