/** TLS by certificate files: read and checked before they are used, at the start and whenever they are read again. */

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Server } from "node:https";
import type { FastifyInstance } from "fastify";

/** What is wrong with the files, in a line. */
export class BadTls extends Error {}

export interface TlsFiles {
  /** PEM: the certificate, then those that lead to its root. */
  readonly cert: string;
  /** PEM, not encrypted. */
  readonly key: string;
}

export interface TlsCredentials {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Throws `BadTls`. `now` in milliseconds since 1970. */
export function readTls(files: TlsFiles, now: number): TlsCredentials {
  const cert = read(files.cert, "DOMZERO_TLS_CERT");
  const key = read(files.key, "DOMZERO_TLS_KEY");
  const certificate = parseCertificate(cert, files.cert);
  if (!certificate.checkPrivateKey(parseKey(key, files.key)))
    throw new BadTls(`the key in ${files.key} is not that of the certificate in ${files.cert}`);
  if (Date.parse(certificate.validTo) <= now)
    throw new BadTls(`the certificate in ${files.cert} has expired: it was valid to ${certificate.validTo}`);
  return { cert, key };
}

/** New connections are made with them; those that are open go on. */
export function replaceTls(app: FastifyInstance, { cert, key }: TlsCredentials): void {
  (app.server as unknown as Server).setSecureContext({ cert, key });
}

function read(path: string, setting: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new BadTls(`${setting} is ${path}, which cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}

function parseCertificate(cert: Buffer, path: string): X509Certificate {
  try {
    return new X509Certificate(cert);
  } catch {
    throw new BadTls(`${path} does not begin with a certificate in PEM`);
  }
}

function parseKey(key: Buffer, path: string): KeyObject {
  try {
    return createPrivateKey(key);
  } catch {
    throw new BadTls(`${path} has no private key in PEM that is not encrypted`);
  }
}
