/** The real engine as memory management sees it, for a world that has no guest code. */
import { compileEngine, Engine } from "../../../src/engine/engine.ts";
import type { MemoryMap } from "../../../src/hypervisor/mm/memory-map.ts";
import type { TranslationCaches } from "../../../src/hypervisor/mm/translation-caches.ts";

/** Compiles the engine, and gives what makes one over a memory: all its vCPUs in kernel mode. */
export function realEngine(): (map: MemoryMap, memory: WebAssembly.Memory) => TranslationCaches {
  const module = compileEngine();
  return ({ baseMfn, totalFrames, ramOffset, vcpus }, memory) => {
    const layout = { baseMfn, frames: totalFrames, ramOffset, maxVcpus: vcpus };
    const engine = new Engine(module, memory, layout, { readTsc: () => 0, log: () => {} });
    for (const cpu of engine.vcpus) cpu.kernelMode = 1;
    return engine;
  };
}
