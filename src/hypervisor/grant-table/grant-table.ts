/**
 * A domain's grant table: frames of the Xen heap that the guest fills with entries, each of which lets one other domain use one of
 * its frames (xen/grant_table.h).
 *
 * The entries are the guest's and may change at any time; what a grant was used for is kept here, never read back from them.
 */
import type { Domain } from "../domain.ts";

export class GrantTable {
  /** ABI version in use: 1 or 2. */
  version = 1;
  /** Frames of the table so far. */
  readonly frames: number[] = [];
  readonly statusFrames: number[] = [];
  readonly domain: Domain;

  constructor(domain: Domain) {
    this.domain = domain;
  }
}
