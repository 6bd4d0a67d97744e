/** Who may import whom. Anything that no rule allows is an error; type imports count too. */

const FOLDERS = {
  abi: [],
  engine: [],
  hypervisor: ["abi", "engine"],
  machine: ["abi", "engine", "hypervisor"],
  xenstore: ["abi"],
  backends: ["abi", "xenstore", "machine"],
  builder: ["abi", "machine"],
  toolstack: ["abi", "hypervisor", "machine", "xenstore", "backends", "builder"],
  store: ["toolstack"],
  history: ["machine", "toolstack"],
  http: ["toolstack"],
  cli: ["store"],
};

/** npm packages by folder; the rest has none. Wasm and the standard library are enough below the toolstack. */
const PACKAGES = {
  store: ["better-sqlite3"],
  history: ["better-sqlite3"],
  http: ["fastify", "@fastify/.*", "typebox", "prom-client", "pino", "ws", "@types/ws"],
};

const forbidden = [
  {
    name: "no-cycles",
    comment: "Two files of one folder may know each other's types; nothing may load in a circle.",
    severity: "error",
    from: {},
    to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
  },
  { name: "no-unresolved", severity: "error", from: {}, to: { couldNotResolve: true } },
  {
    name: "nobody-imports-main",
    comment: "But the command that starts it.",
    severity: "error",
    from: { path: "^src/", pathNot: "^src/cli/domzero\\.ts$" },
    to: { path: "^src/main\\.ts$" },
  },
];

for (const [folder, allowed] of Object.entries(FOLDERS)) {
  const mine = [folder, ...allowed].join("|");
  forbidden.push({
    name: `${folder}-imports`,
    comment: `src/${folder} imports ${allowed.length > 0 ? allowed.join(", ") : "nothing"} of the other folders.`,
    severity: "error",
    from: { path: `^src/${folder}/` },
    to: { path: "^src/", pathNot: `^src/(${mine})/|^src/main\\.ts$` },
  });
  forbidden.push({
    name: `${folder}-packages`,
    severity: "error",
    from: { path: `^src/${folder}/` },
    to: {
      dependencyTypes: ["npm", "npm-dev", "npm-optional", "npm-peer", "npm-no-pkg", "npm-unknown"],
      ...(PACKAGES[folder] && { pathNot: `node_modules/(${PACKAGES[folder].join("|")})/` }),
    },
  });
}

/** A folder that is not in the table would escape every rule. */
forbidden.push({
  name: "known-folders",
  severity: "error",
  from: { path: "^src/[^/]+/", pathNot: `^src/(${Object.keys(FOLDERS).join("|")})/` },
  to: {},
});

export default {
  forbidden,
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      extensions: [".ts", ".js", ".d.ts"],
      exportsFields: ["exports"],
      conditionNames: ["import", "types", "node", "default"],
    },
  },
};
