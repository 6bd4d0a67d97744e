/** The engine as the owner of a machine needs it: compiled once a process, and how many bytes it takes of a domain's memory. */
export { compileEngine } from "../engine/engine.ts";
export { engineBytes } from "../engine/layout.ts";
