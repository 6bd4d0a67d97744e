/** What tasks were asked for besides their operation, in a table of its own; it goes with its task. */

import type { TaskInputWriter } from "../toolstack/ports.ts";
import type { Statements } from "./statements.ts";

export class TaskInputs implements TaskInputWriter {
  readonly #statements: Statements;

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  get(task: string): string | undefined {
    const row = this.#statements.prepare("SELECT input FROM task_inputs WHERE task = ?").get(task);
    return (row as { input: string } | undefined)?.input;
  }

  put(task: string, input: string): void {
    this.#statements.prepare("INSERT INTO task_inputs (task, input) VALUES (?, ?)").run(task, input);
  }
}
