/** Nodes of xenstore as clients see and write them. */

import { Type } from "typebox";
import { closed, list, maybe, named, oneOf } from "./shapes.ts";

/** XENSTORE_ABS_PATH_MAX (xen/io/xs_wire.h). */
const PATH_BYTES = 3072;
/** What one message of the protocol holds, as base64. */
const VALUE_LENGTH = 8192;

export const nodePath = Type.String({
  minLength: 1,
  maxLength: PATH_BYTES,
  description: "The node's absolute path.",
});

export const pathInDomain = Type.String({
  maxLength: PATH_BYTES,
  default: "",
  description: "Relative to the domain's home, /local/domain/<domid>; the home itself unless given.",
});

const Encoding = oneOf(["utf8", "base64"], "How the bytes of the value are written.");
const Permission = Type.String({
  pattern: "^[nrwb][0-9]{1,5}$",
  description: "n, r, w or b (none, read, write, both) and a domid.",
});

export const XenstoreNode = named("XenstoreNode", "A node of xenstore.", {
  path: Type.String({ description: "Absolute." }),
  value: Type.String(),
  encoding: Encoding,
  permissions: list(Permission, { description: "The owner with what everybody may, then exceptions." }),
  children: list(Type.String(), { description: "Names, in order." }),
  next: maybe(Type.String(), "`after` for more children; null at the end."),
});

export const XenstoreChange = named("XenstoreChange", "What to write; what is left out stays as it is.", {
  value: Type.Optional(Type.String({ maxLength: VALUE_LENGTH })),
  encoding: Type.Optional(Encoding),
  permissions: Type.Optional(list(Permission, { minItems: 1, maxItems: 64 })),
});

export const childrenQuery = {
  limit: Type.Integer({ minimum: 1, maximum: 1000, default: 1000, description: "Most children to name." }),
  after: Type.Optional(Type.String({ maxLength: PATH_BYTES, description: "`next` of the page before." })),
};

export const onlyPath = { global: closed({ path: nodePath }), domain: closed({ path: pathInDomain }) };

export const xenstoreSchemas = [XenstoreNode, XenstoreChange];
