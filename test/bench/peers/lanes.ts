/** Work that several clients do at once, each on a connection of its own, with the time of every single operation. */
import { percentiles } from "../service.ts";

export interface Rate {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  /** Processor time of the server for one operation, in microseconds. */
  readonly cpuUs: number;
}

interface Closable {
  close(): Promise<void>;
}

/** Processor time of the server under test so far, in seconds. */
export const server = { cpuSeconds: (): number => 0 };

/** Does `operation` for each of 0 to `count` - 1, in turn by whichever of `clients` lanes is free. Times in ms. */
export async function lanes<C extends Closable>(
  clients: number,
  count: number,
  connect: () => C,
  operation: (connection: C, index: number) => Promise<unknown>,
): Promise<Rate> {
  const times: number[] = [];
  let next = 0;
  const lane = async (connection: C) => {
    while (next < count) {
      const index = next++;
      const begin = performance.now();
      await operation(connection, index);
      times.push(performance.now() - begin);
    }
    await connection.close();
  };
  const connections = Array.from({ length: Math.min(clients, count) }, connect);
  const cpuBefore = server.cpuSeconds();
  const begin = performance.now();
  await Promise.all(connections.map(lane));
  const seconds = (performance.now() - begin) / 1000;
  const cpuUs = ((server.cpuSeconds() - cpuBefore) * 1e6) / count;
  return { perSecond: count / seconds, ...percentiles(times), cpuUs };
}
