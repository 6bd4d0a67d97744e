/** Domain 0 is the service itself: its grant table is one frame of version 1 in which nothing is granted. */
import { GNTST } from "../../abi/grant-table.ts";

const ENTRIES = 512;

/** What a use of one of its references is answered. */
export const statusOfDom0 = (ref: number): number => (ref < ENTRIES ? GNTST.generalError : GNTST.badGntref);
