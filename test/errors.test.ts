/** docs/ERRORS.md lists every code that the sources can throw, and none that they cannot. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseSync } from 'vite';
import { expect, test } from 'vitest';

const repository = fileURLToPath(new URL('..', import.meta.url));
const document = readFileSync(join(repository, 'docs/ERRORS.md'), 'utf8');
const listed = new Set(Array.from(document.matchAll(/`([A-Z][A-Za-z]+)`/g), ([, code]) => code as string));
/** Words in the document that are types, not codes. */
listed.delete('HearsayError');
listed.delete('Storage');

interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

interface Source {
  readonly path: string;
  readonly nodes: readonly Node[];
}

const sources: readonly Source[] = ['crdts', 'src', 'bin'].flatMap((folder) =>
  readdirSync(join(repository, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => {
      const nodes: Node[] = [];
      collect(parseSync(path, readFileSync(join(repository, folder, path), 'utf8')).program, nodes);
      return { path: `${folder}/${path.replaceAll('\\', '/')}`, nodes };
    }),
);

function collect(value: unknown, nodes: Node[]): void {
  if (Array.isArray(value)) {
    for (const each of value) collect(each, nodes);
  } else if (typeof value === 'object' && value !== null && 'type' in value) {
    nodes.push(value as Node);
    for (const child of Object.values(value)) collect(child, nodes);
  }
}

const argumentsOf = (node: Node): readonly Node[] => (node['arguments'] ?? []) as readonly Node[];
const nameOf = (node: unknown): unknown => (node as Node | null)?.['name'];
const textOf = (node: Node | undefined): string | undefined =>
  node?.type === 'Literal' && typeof node['value'] === 'string' ? node['value'] : undefined;

/** Functions that hand a parameter on as the code: their name, and which parameter it is. */
const makers = new Map<unknown, number>([
  ['HearsayError', 0],
  ['Failure', 1],
]);
for (const { nodes } of sources) {
  for (const node of nodes) {
    const declared =
      node.type === 'VariableDeclarator'
        ? { name: nameOf(node['id']), function: node['init'] as Node | null }
        : undefined;
    const { name, function: body } = declared ?? { name: nameOf(node['id']), function: node };
    if (body?.type !== 'ArrowFunctionExpression' && body?.type !== 'FunctionDeclaration') continue;
    const inside: Node[] = [];
    collect(body['body'], inside);
    const parameters = (body['params'] as readonly Node[]).map(nameOf);
    const codes = inside
      .filter((each) => nameOf(each['callee']) === 'HearsayError')
      .map((each) => nameOf(argumentsOf(each)[0]));
    const index = parameters.findIndex((parameter) => parameter !== undefined && codes.includes(parameter));
    if (index >= 0 && name !== undefined) makers.set(name, index);
  }
}

/** Where codes are made, with the code where it is written there. */
const made = sources.flatMap(({ path, nodes }) =>
  nodes.flatMap((node) => {
    const isSuper =
      (node['callee'] as Node | undefined)?.type === 'Super' && textOf(argumentsOf(node)[0]) !== undefined;
    const index = isSuper ? 0 : makers.get(nameOf(node['callee']));
    return index === undefined ? [] : [{ path, code: textOf(argumentsOf(node)[index]) }];
  }),
);

/** The table of the HTTP API: the codes that a request can end in. */
const statuses = new Map(
  Array.from(
    readFileSync(join(repository, 'src/edges/http/problem.ts'), 'utf8').matchAll(/^ {2}([A-Z][A-Za-z]+): (\d{3}),$/gm),
    ([, code, status]) => [code as string, status as string] as const,
  ),
);

test('every code in the sources is in the document', () => {
  const codes = new Set([...made.map(({ code }) => code), ...statuses.keys()].filter((code) => code !== undefined));
  expect(codes.size).toBeGreaterThan(50);
  expect([...codes].filter((code) => !listed.has(code))).toEqual([]);
});

test('every code in the document is in the sources', () => {
  const texts = new Set(sources.flatMap(({ nodes }) => nodes.map(textOf)));
  expect([...listed].filter((code) => !texts.has(code) && !statuses.has(code))).toEqual([]);
});

test('the document has the statuses of the HTTP API', () => {
  const rows = Array.from(document.matchAll(/^\| (.*?) +\| .* \| (\d{3}|–) +\|$/gm), ([, codes = '', status]) =>
    Array.from(codes.matchAll(/`(\w+)`/g), ([, code]) => [code, status] as const),
  ).flat();
  const told = Object.fromEntries(rows.filter(([, status]) => status !== '–'));
  expect(told).toEqual({ ...Object.fromEntries(statuses), Internal: '500' });
});
