import { Sam3Error } from "../errors.js";

/** What a call meets once its `Sam3` is closing. */
export function sam3Closed(): Sam3Error {
  return new Sam3Error("DISPOSED", "This Sam3 was closed. Load it again with Sam3.load().");
}

/** What a prompt meets once its picture's features were given up. */
export function pictureDisposed(): Sam3Error {
  return new Sam3Error("DISPOSED", "This encoded image was disposed. Encode the picture again.");
}
