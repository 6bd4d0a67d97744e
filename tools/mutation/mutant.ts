/** One small change of one source. */
export interface Mutant {
  /** Stays the same while the function that it is in does: area file, function, what is changed and how. */
  readonly id: string;
  /** Path of the source from the repository's root. */
  readonly file: string;
  readonly line: number;
  /** UTF-16 offsets of what is replaced, and by what. */
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** The source with the mutant in it. */
export function mutate(source: string, { start, end, text }: Mutant): string {
  return source.slice(0, start) + text + source.slice(end);
}
