// What the client programs of this directory share: where Pointsman is, and checks that are counted.

import assert from "node:assert/strict";

export const port = Number(process.env.POINTSMAN_PORT);
/** 2 or 3. */
export const protocol = Number(process.env.POINTSMAN_PROTOCOL ?? 2);
/** Asked for first by every program: what stands before it on a connection is the library's own start-up. */
export const MARKER = "golden:start";

const SECONDS = 20;

/** Runs named checks one after the other; the first that fails ends the program with code 1. */
export async function checks(named) {
  for (const [name, check] of Object.entries(named)) {
    await within(name, check());
    console.log(`ok ${name}`);
  }
}

/** A promise with an end: nothing here may wait for ever. */
export async function within(name, promise, seconds = SECONDS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${name}: not within ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until `holds` gives something true, and gives that. */
export async function eventually(what, holds, seconds = SECONDS) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const value = await holds();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${seconds} s`);
    await new Promise((resume) => setTimeout(resume, 10));
  }
}

export const range = (count) => [...Array(count).keys()];
export { assert };

process.on("unhandledRejection", (error) => {
  console.error(error);
  process.exit(1);
});
