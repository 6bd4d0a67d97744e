/**
 * What a mutation run changes: each mutant is one small change of one source, found by walking its syntax, so that the list follows the
 * sources by itself. In the hypervisor a rule is taken out (a condition is never true, one half of it is forgotten, a border is off by
 * one, a statement is not executed); in the op table the semantics of a row are another's.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import type { Mutant } from "./mutant.ts";

const ROOT = join(import.meta.dirname, "../..");

export interface Area {
  readonly name: string;
  readonly sources: readonly string[];
  readonly operator: Operator;
  /** Test files that are to notice, the quickest first. */
  readonly tests: readonly string[];
}

/** Changes of one node: what to replace, and by what. */
type Operator = (node: ts.Node, source: ts.SourceFile) => readonly Change[];
interface Change {
  readonly node: ts.Node;
  readonly text: string;
}

const filesOf = (folder: string): string[] =>
  readdirSync(join(ROOT, folder))
    .filter((name) => name.endsWith(".ts"))
    .toSorted()
    .map((name) => `${folder}/${name}`);

const testsOf = (folder: string): string[] => filesOf(folder).filter((name) => name.endsWith(".test.ts"));

/** These take longest, and find what the tables of cases forgot. */
const LAST = ["test/hypervisor/statistics.test.ts", "test/hypervisor/suspend.test.ts", "test/hypervisor/fuzz.test.ts"];

/** Hypercall rows belong to the area whose rules they ask. Tests are those that own the area first, then others that are to notice. */
export const areas = (): readonly Area[] => [
  {
    name: "mm",
    sources: filesOf("src/hypervisor/mm"),
    operator: withoutRules,
    tests: [
      ...testsOf("test/hypervisor/mm"),
      "test/hypervisor/hypercalls.test.ts",
      "test/hypervisor/traps.test.ts",
      ...testsOf("test/hypervisor").filter((name) => /\/grant/.test(name)),
      ...testsOf("test/hypervisor/security"),
      ...LAST,
    ],
  },
  {
    name: "event-channel",
    sources: [...filesOf("src/hypervisor/event-channel"), "src/hypervisor/hypercall/event-channel-op.ts"],
    operator: withoutRules,
    tests: [
      ...testsOf("test/hypervisor").filter((name) => /\/event-channel/.test(name)),
      "test/hypervisor/hypercalls.test.ts",
      "test/hypervisor/scheduler.test.ts",
      ...testsOf("test/hypervisor/security"),
      "test/hypervisor/demo-kernel.test.ts",
      ...LAST,
    ],
  },
  {
    name: "grant-table",
    sources: [...filesOf("src/hypervisor/grant-table"), "src/hypervisor/hypercall/grant-table-op.ts"],
    operator: withoutRules,
    tests: [
      ...testsOf("test/hypervisor").filter((name) => /\/grant/.test(name)),
      ...testsOf("test/hypervisor/security"),
      "test/hypervisor/hypercalls.test.ts",
      "test/hypervisor/demo-kernel.test.ts",
      ...LAST,
    ],
  },
  {
    name: "ops",
    sources: filesOf("src/engine/ops"),
    operator: otherSemantics,
    tests: ["test/engine/vectors/vectors.test.ts", ...testsOf("test/engine")],
  },
];

/** Every mutant of an area, in the order of its sources. */
export function mutantsOf(area: Area): Mutant[] {
  return area.sources.flatMap((file) => {
    const text = readFileSync(join(ROOT, file), "utf8");
    const source = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true);
    const found: Mutant[] = [];
    const seen = new Map<string, number>();
    const visit = (node: ts.Node): void => {
      for (const change of area.operator(node, source)) {
        const start = change.node.getStart(source);
        const end = change.node.getEnd();
        const was = oneLine(text.slice(start, end));
        const name = `${file.replace(/^src\//, "")} ${enclosing(node)}: ${was} -> ${oneLine(change.text) || "nothing"}`;
        const again = seen.get(name) ?? 0;
        seen.set(name, again + 1);
        const { line } = source.getLineAndCharacterOfPosition(start);
        found.push({
          id: again === 0 ? name : `${name} #${again + 1}`,
          file,
          line: line + 1,
          start,
          end,
          text: change.text,
        });
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
    return found;
  });
}

const oneLine = (text: string): string => {
  const line = text.replace(/\s+/g, " ");
  return line.length > 90 ? `${line.slice(0, 60)} ... ${line.slice(-25)}` : line;
};

/** The function, method or constant that a node is in. */
function enclosing(node: ts.Node): string {
  for (let at: ts.Node | undefined = node; at !== undefined; at = at.parent) {
    if ((ts.isFunctionDeclaration(at) || ts.isMethodDeclaration(at) || ts.isAccessor(at)) && at.name)
      return at.name.getText();
    if (ts.isConstructorDeclaration(at)) return "constructor";
    if (ts.isVariableDeclaration(at) && ts.isSourceFile(at.parent.parent.parent)) return at.name.getText();
  }
  return "top";
}

const borders: ReadonlyMap<ts.SyntaxKind, string> = new Map([
  [ts.SyntaxKind.LessThanToken, "<="],
  [ts.SyntaxKind.LessThanEqualsToken, "<"],
  [ts.SyntaxKind.GreaterThanToken, ">="],
  [ts.SyntaxKind.GreaterThanEqualsToken, ">"],
]);

/** A `throw new Bug` says what never happens: that it does not, no test can show. */
const neverHappens = (node: ts.Node): boolean => /throw new Bug/.test(node.getText()) && node.getText().length < 220;

function withoutRules(node: ts.Node): readonly Change[] {
  if (ts.isIfStatement(node)) return neverHappens(node.thenStatement) ? [] : [{ node: node.expression, text: "false" }];
  if (ts.isConditionalExpression(node)) {
    return [
      { node, text: `(${node.whenTrue.getText()})` },
      { node, text: `(${node.whenFalse.getText()})` },
    ];
  }
  if (ts.isBinaryExpression(node)) {
    const { operatorToken, left, right } = node;
    if (inBug(node)) return [];
    if (
      operatorToken.kind === ts.SyntaxKind.AmpersandAmpersandToken ||
      operatorToken.kind === ts.SyntaxKind.BarBarToken
    ) {
      return [left, right].map((half) => ({ node, text: `(${half.getText()})` }));
    }
    const other = borders.get(operatorToken.kind);
    // The border of a loop over an array is no rule.
    if (other !== undefined && !ts.isForStatement(node.parent)) return [{ node: operatorToken, text: other }];
    return [];
  }
  if (ts.isExpressionStatement(node) && !neverHappens(node)) {
    // What a constructor sets up is missed by everybody.
    return enclosing(node) === "constructor" ? [] : [{ node, text: ";" }];
  }
  return [];
}

/** In the condition of a statement that throws a Bug. */
function inBug(node: ts.Node): boolean {
  for (let at = node.parent; at !== undefined && !ts.isBlock(at); at = at.parent) {
    if (ts.isIfStatement(at)) return neverHappens(at.thenStatement);
  }
  return false;
}

/** Emitter methods that a slip of the pen might take for each other. */
const confused: Readonly<Record<string, string>> = {
  add: "sub",
  sub: "add",
  and: "or",
  or: "xor",
  xor: "or",
  shl: "shrU",
  shrU: "shrS",
  shrS: "shrU",
  rotl: "rotr",
  rotr: "rotl",
  mul: "add",
  divU: "divS",
  divS: "divU",
  eq: "ne",
  ne: "eq",
  eqz: "wrap",
  ltU: "ltS",
  ltS: "ltU",
  geU: "gtU",
  gtU: "geU",
  leU: "ltU",
  geS: "gtS",
  gtS: "geS",
  leS: "ltS",
  min: "max",
  max: "min",
  extendI32s: "extendI32u",
  extendI32u: "extendI32s",
  extend8s: "extend16s",
  extend16s: "extend8s",
  minS: "minU",
  maxS: "maxU",
  minU: "minS",
  maxU: "maxS",
  addSatS: "add",
  addSatU: "add",
  subSatS: "sub",
  subSatU: "sub",
};

function otherSemantics(node: ts.Node): readonly Change[] {
  // e.i64.add(...), c.e.i32.eq(...): the method of a lane type.
  if (ts.isPropertyAccessExpression(node) && ts.isCallExpression(node.parent) && node.parent.expression === node) {
    const lane = node.expression.getText();
    const other = confused[node.name.text];
    if (
      other !== undefined &&
      other !== "wrap" &&
      /\.(i32|i64|f32|f64|i8x16|i16x8|i32x4|i64x2|f32x4|f64x2|v128)$/.test(lane)
    )
      return [{ node: node.name, text: other }];
  }
  // e.i64.const(63n), e.i32.const(8): the number that a shift, a mask or a place is made of.
  if (
    ts.isCallExpression(node) &&
    /\.(i32|i64)\.const$/.test(node.expression.getText()) &&
    node.arguments.length === 1
  ) {
    const [value] = node.arguments;
    if (value !== undefined && (ts.isNumericLiteral(value) || ts.isBigIntLiteral(value))) {
      const big = value.text.endsWith("n");
      const number = BigInt(value.text.replace(/n$/, ""));
      return [{ node: value, text: `${number === 0n ? 1n : number - 1n}${big ? "n" : ""}` }];
    }
  }
  return [];
}

/** `count` of the mutants by seed: which ones depends on their ids alone, so that other code may change without changing the choice. */
export function sample(mutants: readonly Mutant[], count: number, seed: number): Mutant[] {
  const weight = (id: string): number => {
    let value = seed | 0;
    for (let i = 0; i < id.length; i++) value = Math.imul(value ^ id.charCodeAt(i), 0x0100_0193);
    return (value ^ (value >>> 15)) >>> 0;
  };
  return mutants
    .map((mutant) => ({ mutant, key: weight(mutant.id) }))
    .toSorted((a, b) => a.key - b.key)
    .slice(0, count)
    .map(({ mutant }) => mutant);
}
