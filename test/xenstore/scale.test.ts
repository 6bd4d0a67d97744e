/** Cost does not grow with what is there: no operation looks at all nodes, domains or watches. */
import { expect, test } from "vitest";
import { XS } from "../../src/abi/io-xenstore.ts";
import { LocalClient } from "../../src/xenstore/local-client.ts";
import { Store } from "../../src/xenstore/store.ts";
import { WireClient } from "./wire-client.ts";

/** Microseconds for each of `count` calls, the best of five rounds. */
function cost(count: number, call: (i: number) => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const start = performance.now();
    for (let i = 0; i < count; i++) call(i);
    best = Math.min(best, ((performance.now() - start) * 1000) / count);
  }
  return best;
}

function populated(domains: number, nodesEach: number): { guest: WireClient } {
  const store = new Store();
  const dom0 = new LocalClient(store);
  for (let domid = 1; domid <= domains; domid++) {
    store.addDomain(domid);
    dom0.transaction((view) => {
      view.write(`/local/domain/${domid}`, "", [`n${domid}`]);
      for (let i = 0; i < nodesEach; i++) view.write(`/local/domain/${domid}/n${i}`, "");
    });
    const client = new WireClient(store, domid);
    for (let i = 0; i < 10; i++) client.ask(XS.watch, `n${i}|t|`);
  }
  return { guest: new WireClient(store, 1) };
}

test("requests of one guest cost about the same beside 500 others with 100,000 nodes", () => {
  const small = populated(1, 200).guest;
  const large = populated(501, 200).guest;
  const round = (guest: WireClient) => (i: number) => {
    guest.ask(XS.write, `n${i % 200}|v${i}`);
    guest.ask(XS.read, `n${i % 200}|`);
    const tx = Number(guest.ask(XS.transactionStart, "|").slice(0, -1));
    guest.ask(XS.write, `n${i % 200}|w`, tx);
    guest.ask(XS.transactionEnd, "T|", tx);
    guest.heard();
  };
  const alone = cost(400, round(small));
  const among = cost(400, round(large));
  expect(among).toBeLessThan(alone * 5 + 50);
});
