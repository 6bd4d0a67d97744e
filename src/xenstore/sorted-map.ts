/**
 * A persistent map from byte strings, in order of its keys: an AVL tree whose updates share all but one path with the old map.
 *
 * Nothing here is ever changed in place; the empty map is `undefined`. Lookup and update cost O(log n), so a directory with
 * a hundred thousand children is written as cheaply as a small one.
 */
export interface SortedMapEntry<T> {
  readonly key: string;
  readonly value: T;
  readonly left: SortedMap<T>;
  readonly right: SortedMap<T>;
  readonly height: number;
}

export type SortedMap<T> = SortedMapEntry<T> | undefined;

class Entry<T> implements SortedMapEntry<T> {
  readonly key: string;
  readonly value: T;
  readonly left: SortedMap<T>;
  readonly right: SortedMap<T>;
  readonly height: number;
  constructor(key: string, value: T, left: SortedMap<T>, right: SortedMap<T>) {
    this.key = key;
    this.value = value;
    this.left = left;
    this.right = right;
    this.height = 1 + Math.max(heightOf(left), heightOf(right));
  }
}

export function get<T>(map: SortedMap<T>, key: string): T | undefined {
  let at = map;
  while (at !== undefined) {
    if (key === at.key) return at.value;
    at = key < at.key ? at.left : at.right;
  }
  return undefined;
}

export function set<T>(map: SortedMap<T>, key: string, value: T): SortedMapEntry<T> {
  if (map === undefined) return new Entry(key, value, undefined, undefined);
  if (key === map.key) return new Entry(key, value, map.left, map.right);
  return key < map.key
    ? balanced(map.key, map.value, set(map.left, key, value), map.right)
    : balanced(map.key, map.value, map.left, set(map.right, key, value));
}

/** The map without a key; the same map if the key is not in it. */
export function without<T>(map: SortedMap<T>, key: string): SortedMap<T> {
  if (map === undefined) return undefined;
  if (key === map.key) {
    if (map.left === undefined) return map.right;
    if (map.right === undefined) return map.left;
    const next = first(map.right);
    return balanced(next.key, next.value, map.left, without(map.right, next.key));
  }
  if (key < map.key) {
    const left = without(map.left, key);
    return left === map.left ? map : balanced(map.key, map.value, left, map.right);
  }
  const right = without(map.right, key);
  return right === map.right ? map : balanced(map.key, map.value, map.left, right);
}

/** Calls back for each entry in order of keys. */
export function each<T>(map: SortedMap<T>, visit: (key: string, value: T) => void): void {
  if (map === undefined) return;
  each(map.left, visit);
  visit(map.key, map.value);
  each(map.right, visit);
}

/** Up to `limit` keys above `key`, in order. Costs O(log n + limit). */
export function namesAfter<T>(map: SortedMap<T>, key: string, limit: number): string[] {
  const names: string[] = [];
  const gather = (at: SortedMap<T>): void => {
    if (at === undefined || names.length >= limit) return;
    if (at.key > key) {
      gather(at.left);
      if (names.length < limit) names.push(at.key);
    }
    gather(at.right);
  };
  gather(map);
  return names;
}

function heightOf<T>(map: SortedMap<T>): number {
  return map === undefined ? 0 : map.height;
}

function first<T>(map: SortedMapEntry<T>): SortedMapEntry<T> {
  let at = map;
  while (at.left !== undefined) at = at.left;
  return at;
}

/** An entry over two maps whose heights differ by at most two. */
function balanced<T>(key: string, value: T, left: SortedMap<T>, right: SortedMap<T>): SortedMapEntry<T> {
  const tilt = heightOf(left) - heightOf(right);
  if (tilt > 1 && left !== undefined) {
    const inner = left.right;
    if (heightOf(left.left) >= heightOf(inner) || inner === undefined) {
      return new Entry(left.key, left.value, left.left, new Entry(key, value, inner, right));
    }
    const outer = new Entry(left.key, left.value, left.left, inner.left);
    return new Entry(inner.key, inner.value, outer, new Entry(key, value, inner.right, right));
  }
  if (tilt < -1 && right !== undefined) {
    const inner = right.left;
    if (heightOf(right.right) >= heightOf(inner) || inner === undefined) {
      return new Entry(right.key, right.value, new Entry(key, value, left, inner), right.right);
    }
    const outer = new Entry(right.key, right.value, inner.right, right.right);
    return new Entry(inner.key, inner.value, new Entry(key, value, left, inner.left), outer);
  }
  return new Entry(key, value, left, right);
}
