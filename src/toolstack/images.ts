/**
 * Images: files that domains are built from, each named by the SHA-256 of its bytes alone.
 *
 * Invariants: a file under its final name is whole and on the disk; a row in the store has its file; one row for each
 * content and kind. Work on one content is serial, so that an upload and a deletion of the same bytes cannot cross.
 */

import { createHash, randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { type FileHandle, open, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { checkProject } from "./access/projects.ts";
import { syncFolder } from "./durable-files.ts";
import type { ImageKind, ImageRecord } from "./model.ts";
import type { Clock, KernelInspector, Log, Store, Writer } from "./ports.ts";
import { done, type Result, refuse } from "./refusal.ts";
import { imageView } from "./views.ts";

export interface ImagesOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly folder: string;
  readonly mostBytes: number;
  readonly builtins: ReadonlyMap<string, string>;
  readonly inspectKernel?: KernelInspector;
}

export interface Uploaded {
  readonly image: ImageRecord;
  /** False when the same bytes were there already. */
  readonly fresh: boolean;
}

const SHA256 = /^[0-9a-f]{64}$/;

export class Images {
  readonly #options: ImagesOptions;
  readonly #tails = new Map<string, Promise<unknown>>();

  constructor(options: ImagesOptions) {
    this.#options = options;
    mkdirSync(options.folder, { recursive: true, mode: 0o700 });
  }

  /** Removes half-made uploads, and files that no image refers to. */
  recover(): void {
    const { store, folder, log } = this.#options;
    const wanted = store.imageFiles();
    for (const name of readdirSync(folder)) {
      if (SHA256.test(name) && wanted.has(name)) continue;
      rmSync(join(folder, name), { force: true });
      log.info({ file: name }, "removed a leftover image file");
    }
  }

  find(id: string): Result<ImageRecord> {
    const image = this.#options.store.image(id.toLowerCase());
    return image ? done(image) : refuse("image-not-found", `There is no image ${id}.`);
  }

  /** Where the bytes are. */
  path(id: string): string | undefined {
    const image = this.#options.store.image(id);
    return image && join(this.#options.folder, image.sha256);
  }

  /**
   * Takes the bytes of `body` as they come. `digest` is what the sender says their SHA-256 is. A body that breaks off, or
   * does not fit on the disk, leaves nothing behind.
   */
  async upload(
    body: AsyncIterable<Uint8Array>,
    project: string,
    kind: ImageKind,
    digest?: string,
  ): Promise<Result<Uploaded>> {
    try {
      return await this.#take(body, project, kind, digest);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
      return refuse("storage-full", "The disk of the state folder is full.");
    }
  }

  async #take(
    body: AsyncIterable<Uint8Array>,
    project: string,
    kind: ImageKind,
    digest: string | undefined,
  ): Promise<Result<Uploaded>> {
    const { folder, store } = this.#options;
    const temporary = join(folder, `.upload-${randomUUID()}`);
    const file = await open(temporary, "wx", 0o600);
    let kept = false;
    try {
      const received = await this.#receive(body, file);
      if (!received.ok) return received;
      const { sha256, size } = received.value;
      if (digest !== undefined && digest.toLowerCase() !== sha256)
        return refuse("image-digest-differs", `The bytes that came have the SHA-256 ${sha256}.`, { field: "sha256" });
      await file.sync();
      const inspection =
        kind === "kernel" && this.#options.inspectKernel ? await this.#options.inspectKernel(temporary) : null;
      return await this.#serially(sha256, async () => {
        const known = store.imageByContent(project, sha256, kind);
        if (known) return done({ image: known, fresh: false });
        await rename(temporary, join(folder, sha256));
        kept = true;
        try {
          await syncFolder(folder);
          return await this.#record(project, kind, sha256, size, inspection);
        } finally {
          if (!store.imageFiles().has(sha256)) await unlink(join(folder, sha256));
        }
      });
    } finally {
      await file.close().catch(() => undefined);
      if (!kept) await unlink(temporary).catch(() => undefined);
    }
  }

  async remove(id: string): Promise<Result<ImageRecord>> {
    const { store, clock, folder } = this.#options;
    const found = this.find(id);
    if (!found.ok) return found;
    const image = found.value;
    return this.#serially(image.sha256, async () => {
      const outcome = await store.commit((writer): Result<ImageRecord> => {
        if (!writer.image(image.id)) return refuse("image-not-found", `There is no image ${id}.`);
        const users = writer.imageUsers(image.id, 4);
        if (users.length > 0)
          return refuse(
            "image-in-use",
            `Image ${image.id} is used by ${users.slice(0, 3).join(", ")}${users.length > 3 ? " and more" : ""}.`,
          );
        writer.removeImage(image.id);
        this.#tell(writer, image, "del", "deleted", clock.now());
        return done(image);
      });
      if (outcome.ok && !store.imageFiles().has(image.sha256))
        await unlink(join(folder, image.sha256)).catch(() => undefined);
      return outcome;
    });
  }

  async #receive(body: AsyncIterable<Uint8Array>, file: FileHandle): Promise<Result<{ sha256: string; size: number }>> {
    const { mostBytes } = this.#options;
    const hash = createHash("sha256");
    let size = 0;
    try {
      for await (const chunk of body) {
        size += chunk.length;
        if (size > mostBytes)
          return refuse("image-too-large", `An image has at most ${mostBytes} bytes.`, { limit: mostBytes });
        hash.update(chunk);
        for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten;
      }
    } catch (error) {
      if (["ECONNRESET", "ERR_STREAM_PREMATURE_CLOSE"].includes((error as NodeJS.ErrnoException).code ?? ""))
        return refuse("upload-cut-off", `The connection broke off after ${size} bytes.`);
      throw error;
    }
    if (size === 0) return refuse("image-empty", "The body is empty; send the image's bytes as they are.");
    return done({ sha256: hash.digest("hex"), size });
  }

  async #record(
    project: string,
    kind: ImageKind,
    sha256: string,
    size: number,
    inspection: ImageRecord["inspection"],
  ): Promise<Result<Uploaded>> {
    const { store, clock } = this.#options;
    const time = clock.now();
    const image: ImageRecord = { id: randomUUID(), kind, sha256, size, createdAt: time, inspection, project };
    return store.commit((writer): Result<Uploaded> => {
      const refusal = checkProject(project, writer);
      if (refusal) return refusal;
      writer.putImage(image);
      this.#tell(writer, image, "add", "uploaded", time);
      return done({ image, fresh: true });
    });
  }

  #tell(writer: Writer, image: ImageRecord, operation: "add" | "del", reason: string, time: number): void {
    const { id, project } = image;
    const object = JSON.stringify(imageView(image));
    writer.appendEvent({ time, class: "image", operation, reason, id, project, object });
  }

  /** Runs `work` after all earlier work on the same content. */
  #serially<T>(key: string, work: () => Promise<T>): Promise<T> {
    const tail = this.#tails.get(key) ?? Promise.resolve();
    const next = tail.then(work, work);
    const settled = next.catch(() => undefined);
    this.#tails.set(key, settled);
    void settled.then(() => {
      if (this.#tails.get(key) === settled) this.#tails.delete(key);
    });
    return next;
  }
}
