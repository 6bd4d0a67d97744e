/** Which methods each path takes, for 405 answers: Fastify itself only knows that a route was not found. */

export class MethodTable {
  readonly #routes = new Map<string, { pattern: RegExp; methods: Set<string> }>();

  add(url: string, methods: string | readonly string[]): void {
    let route = this.#routes.get(url);
    if (!route) {
      const source = url
        .replace(/[.+?^${}()|[\]\\]/g, "\\$&")
        .replace(/:[A-Za-z]+/g, "[^/]+")
        .replace(/\*$/, ".*");
      route = { pattern: new RegExp(`^${source}$`), methods: new Set() };
      this.#routes.set(url, route);
    }
    for (const method of [methods].flat()) route.methods.add(method);
  }

  allowed(url: string): readonly string[] {
    const path = url.split("?", 1)[0];
    const found = [...this.#routes.values()].filter(({ pattern }) => pattern.test(path));
    return [...new Set(found.flatMap(({ methods }) => [...methods]))].sort();
  }
}
