/** Mutants that no test is asked to notice, by their ids, each with the reason why there is nothing to notice. */
export const accepted: ReadonlyMap<string, string> = new Map([]);
