/**
 * A broken invariant of xenstore or of Domain 0's services themselves. Never thrown for what a guest did: a guest gets an error by
 * name, or a stopped ring.
 */
export class Bug extends Error {
  override readonly name = "Bug";
}
