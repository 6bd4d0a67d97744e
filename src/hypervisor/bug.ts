/**
 * A broken invariant of the hypervisor itself.
 *
 * Never thrown for anything a guest did: what a guest did wrong is answered with an errno or a trap. Whoever runs a domain catches a
 * `Bug`, crashes that one domain loudly, and goes on with the others.
 */
export class Bug extends Error {
  override readonly name = "Bug";
}
