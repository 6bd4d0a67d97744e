/** What one guest may use of xenstore. Domain 0 is not limited. */
export interface Quotas {
  /** Nodes that a domain may own. More: ENOSPC. */
  readonly nodes: number;
  /** Bytes of a node's value. More: ENOSPC. */
  readonly valueBytes: number;
  /** Permission entries of a node. More: ENOSPC. */
  readonly permissions: number;
  /** Bytes of a path below a domain's home. More: EINVAL. */
  readonly pathBytes: number;
  /** Watches that a connection may have. More: E2BIG. */
  readonly watches: number;
  /** Transactions that a connection may have open. More: ENOSPC. */
  readonly transactions: number;
  /** Paths that a transaction may touch, and changes that it may make. More: ENOSPC. */
  readonly transactionPaths: number;
  /** Replies that may wait for the guest to read them; it gets no further answer before. */
  readonly replies: number;
  /** Different watch events that may wait for the guest to read them; later ones are lost. */
  readonly events: number;
}

/** Those of Xen 4.17's xenstored, and our bound on unread events. */
export const XEN_QUOTAS: Quotas = {
  nodes: 1000,
  valueBytes: 2048,
  permissions: 5,
  pathBytes: 2048,
  watches: 128,
  transactions: 10,
  transactionPaths: 1024,
  replies: 20,
  events: 1024,
};
