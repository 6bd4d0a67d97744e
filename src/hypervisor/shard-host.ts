/**
 * What a shard needs from the thread it runs on, and the messages that leave and enter it.
 *
 * Everything in a message survives a structured clone. Messages between the same two parties arrive in the order they were sent.
 */

/** Where a message goes, or comes from: Domain 0's services and control plane, or another shard. */
export type ShardAddress = "dom0" | number;

export type LogLevel = "debug" | "info" | "warn" | "error";

export interface ShardHost {
  /** Monotonic system time in ns. */
  now(): number;
  /** ns since 1970. */
  wallClock(): number;
  send(to: ShardAddress, message: ShardMessage): void;
  /** A message waits for the shard: `run` comes back soon, so that it can be handed in. */
  interrupted?(): boolean;
  log(level: LogLevel, domid: number | null, text: string): void;
}

/** State of the vCPU that crashed its domain. Values are hexadecimal. */
export interface CrashState {
  readonly reason: string;
  readonly vcpu: number;
  readonly registers: Readonly<Record<string, string>>;
  /** 64-bit words at the stack pointer, where they could be read. */
  readonly stack: readonly string[];
}

/** One end of an interdomain event channel. */
export interface PortAddress {
  readonly domid: number;
  readonly port: number;
}

/** What one shard asks of another; each gets exactly one answer, a result as a hypercall would give it. */
export type ShardRequest =
  /** Bind `local` to `remote`, which has to be unbound and reserved for `local`'s domain. */
  | { readonly kind: "evtchn-bind"; readonly local: PortAddress; readonly remote: PortAddress }
  /** `local` is being closed: `remote` becomes unbound, if it is bound to `local`. */
  | { readonly kind: "evtchn-close"; readonly local: PortAddress; readonly remote: PortAddress }
  | GrantRequest;

/**
 * What the shard of a using domain (`caller`) asks that of the granting one (`owner`). The result is a GNTST status. `flags` are GNTMAP's.
 */
export type GrantRequest = { readonly owner: number; readonly caller: number } & (
  | {
      /** Pin grant `ref` and hold its frame for a mapping. The answer has `frame` and `memory`. */
      readonly kind: "grant-map";
      readonly ref: number;
      readonly flags: number;
    }
  | {
      /** The parts of a mapping in `flags` are unmapped. The entry's hold on frame `mfn` goes too, if `putsHost`. */
      readonly kind: "grant-unmap";
      readonly ref: number;
      readonly mfn: number;
      readonly flags: number;
      readonly putsHost: boolean;
    }
  /** An entry is gone that held frame `mfn`, without being unmapped. */
  | { readonly kind: "grant-put"; readonly mfn: number; readonly writable: boolean }
  | {
      /**
       * Bytes of a granted frame; `data` is there when they are to be written. The answer has `bytes`, `outOfBounds`, or, if a grant
       * that is passed on may be used (`onward`), `via`.
       */
      readonly kind: "grant-copy";
      readonly ref: number;
      readonly offset: number;
      readonly length: number;
      readonly data?: Uint8Array;
      readonly onward: boolean;
    }
  /** A frame's content, given to `owner` by `ref`. */
  | { readonly kind: "grant-transfer"; readonly ref: number; readonly bytes: Uint8Array }
);

/** What an answer has besides its result. */
export interface AnswerData {
  readonly bytes?: Uint8Array;
  readonly outOfBounds?: boolean;
  /** A frame of the answering domain, and at which byte of its memory it begins. */
  readonly frame?: { readonly mfn: number; readonly start: number };
  /** The memory of the answering domain, shared. */
  readonly memory?: ArrayBufferLike;
  /** The grant of a third domain to use instead. */
  readonly via?: { readonly domid: number; readonly ref: number };
}

export type ShardMessage =
  /** A notification between a domain and Domain 0, in either direction. `port` is the domain's. */
  | { readonly kind: "event"; readonly domid: number; readonly port: number }
  /** To a shard: Domain 0 has bound a port that the domain offered it. */
  | { readonly kind: "bind-dom0"; readonly domid: number; readonly port: number }
  /** To dom0. `reason` is a `SHUTDOWN` number. */
  | { readonly kind: "shutdown"; readonly domid: number; readonly reason: number; readonly crash?: CrashState }
  /** To dom0: console_io output of a domain that may use it. */
  | { readonly kind: "debug-console"; readonly domid: number; readonly bytes: Uint8Array }
  /** To dom0: nothing of the domain is left on its shard, mappings by Domain 0 included. To the other shards, before the domid is another's. */
  | { readonly kind: "destroyed"; readonly domid: number }
  /** To a shard: a domain lives on shard `shard`. Needed only for domains of other shards. */
  | { readonly kind: "located"; readonly domid: number; readonly shard: number }
  /** To a shard: a domain of another shard is gone, and with it every call that waits for it. */
  | { readonly kind: "gone"; readonly domid: number }
  /** The same, and its thread died: whatever it held of others it will never give back. */
  | { readonly kind: "lost"; readonly domid: number }
  /** Between shards: a notification of `remote`, sent from `local`. */
  | { readonly kind: "notify"; readonly local: PortAddress; readonly remote: PortAddress }
  /** Between shards. */
  | { readonly kind: "request"; readonly from: number; readonly id: number; readonly request: ShardRequest }
  | { readonly kind: "answer"; readonly id: number; readonly result: number; readonly data?: AnswerData };
