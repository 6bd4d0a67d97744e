/** Projects and tokens. */

import { Type } from "typebox";
import type { QUOTAS } from "../../toolstack/access/access-ports.ts";
import { ROLES } from "../../toolstack/access/caller.ts";
import { PROJECT_PATTERN } from "../../toolstack/access/projects.ts";
import { LIMITS } from "../../toolstack/config-rules.ts";
import { pages } from "./lists.ts";
import { Count, maybe, maybeRef, named, oneOf, ref, Time, Uuid } from "./shapes.ts";

export const ProjectName = Type.String({ minLength: 1, maxLength: 63, pattern: PROJECT_PATTERN });

const Description = Type.String({ maxLength: LIMITS.descriptionLength });

export const NewProject = named("NewProject", "A project to make.", {
  name: ProjectName,
  description: Type.Optional(Description),
});

export const Project = named("Project", "What domains and images belong to, and tokens can be limited to.", {
  name: Type.String(),
  description: Type.String(),
  createdAt: Time,
});

export const projectPages = pages("ProjectPage", Project);

const RateLimit = named("RateLimit", "How often a token may ask.", {
  perSecond: Type.Number({ exclusiveMinimum: 0, maximum: 1e6, description: "Requests a second, in the long run." }),
  burst: Type.Integer({ minimum: 1, maximum: 1e6, description: "Requests at once, after a pause." }),
});

const Quota = Type.Optional(Type.Integer({ minimum: 0, maximum: 1e9 }));

const Quotas = named(
  "Quotas",
  "What the definitions that a token has created may come to; what is left out has no bound.",
  {
    domains: Quota,
    vcpus: Quota,
    memoryMiB: Quota,
  } satisfies Record<(typeof QUOTAS)[number], unknown>,
);

const Usage = named("Usage", "What the definitions that a token has created come to; memory is their maxMemoryMiB.", {
  domains: Count,
  vcpus: Count,
  memoryMiB: Count,
});

const Projects = Type.Unsafe<readonly string[] | "all">({
  anyOf: [
    { type: "string", const: "all" },
    { type: "array", items: ProjectName, minItems: 1, maxItems: 100 },
  ],
  description: "`all`, or the names of projects.",
});

const Role = oneOf(ROLES, "viewer reads; operator acts on domains and images; admin does everything.");

const TokenName = Type.String({ minLength: 1, maxLength: 63, pattern: "^[A-Za-z0-9_][A-Za-z0-9._-]*$" });
const Expiry = Type.String({ format: "date-time", maxLength: 64 });

export const NewToken = named("NewToken", "A token to make.", {
  name: TokenName,
  role: Role,
  projects: Type.Optional(Projects),
  expiresAt: Type.Optional(Expiry),
  rateLimit: Type.Optional(ref(RateLimit)),
  quotas: Type.Optional(ref(Quotas)),
});

export const TokenChange = named("TokenChange", "What is to be another; the rest stays.", {
  name: Type.Optional(TokenName),
  role: Type.Optional(Role),
  projects: Type.Optional(Projects),
  expiresAt: Type.Optional(maybe(Expiry, "null: never.")),
  rateLimit: Type.Optional(maybeRef(RateLimit)),
  quotas: Type.Optional(maybeRef(Quotas)),
});

const token = {
  id: Uuid,
  name: Type.String(),
  role: Role,
  projects: Projects,
  rateLimit: maybeRef(RateLimit),
  quotas: maybeRef(Quotas),
  createdAt: Time,
  createdBy: Type.String({
    description: "Id of the token that made it; `root` is the state folder's, `socket` the socket.",
  }),
  expiresAt: maybe(Time),
  lastUsedAt: maybe(Time, "To the minute."),
};

export const Token = named("Token", "A token, without its secret.", token);

export const TokenWithUsage = named("TokenWithUsage", "A token with what counts to its quotas.", {
  ...token,
  usage: ref(Usage),
});

export const TokenWithSecret = named("TokenWithSecret", "A new token with its secret, which is shown this once.", {
  ...token,
  secret: Type.String({ description: "For the header Authorization: Bearer." }),
});

export const tokenPages = pages("TokenPage", Token);

export const AuditEntry = named("AuditEntry", "One request, and what came of it.", {
  number: Count,
  time: Time,
  token: Type.String({
    description: "Id of the token; `root` is the state folder's, `socket` the socket, `nobody` none.",
  }),
  name: Type.String({ description: "The token's name then." }),
  address: maybe(Type.String(), "Where it came from; null for the unix socket."),
  operation: maybe(Type.String(), "The operationId; null where there is no such route."),
  object: maybe(Type.String(), "Id of the object."),
  project: maybe(Type.String(), "The object's."),
  status: maybe(Type.Integer(), "Of the answer; null where the service ended before it, or has not answered yet."),
  problem: maybe(Type.String(), "The last part of the problem's type."),
  task: maybe(Type.String(), "The task that came of it."),
});

export const auditPages = pages("AuditPage", AuditEntry);

export const accessSchemas = [
  NewProject,
  Project,
  ...projectPages.schemas,
  RateLimit,
  Quotas,
  Usage,
  NewToken,
  TokenChange,
  Token,
  TokenWithUsage,
  TokenWithSecret,
  ...tokenPages.schemas,
  AuditEntry,
  ...auditPages.schemas,
];
