/** Images. */

import { Type } from "typebox";
import { IMAGE_KINDS } from "../../toolstack/model.ts";
import { pages } from "./lists.ts";
import { Count, maybeRef, named, oneOf, Time, Uuid } from "./shapes.ts";

const Inspection = named("ImageInspection", "What a kernel image turned out to be.", {
  bootable: Type.Boolean(),
  summary: Type.String(),
});

export const Image = named("Image", "An uploaded file that domains are built from.", {
  id: Uuid,
  kind: oneOf(IMAGE_KINDS),
  sha256: Type.String({ pattern: "^[0-9a-f]{64}$" }),
  size: Count,
  project: Type.String(),
  createdAt: Time,
  inspection: maybeRef(Inspection),
});

export const imagePages = pages("ImagePage", Image);

export const imageSchemas = [Inspection, Image, ...imagePages.schemas];
