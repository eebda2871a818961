import { fileURLToPath } from "node:url";

/** The picture everything is measured with. */
export const PICTURE = fileURLToPath(new URL("../../examples/shapes.png", import.meta.url));
