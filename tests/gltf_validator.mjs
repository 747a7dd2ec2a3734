// SPDX-License-Identifier: Apache-2.0
// Usage: node gltf_validator.mjs FILE.glb PACKAGE_FOLDER; prints the Khronos validator's report as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [file, packages] = process.argv.slice(2);
const validator = createRequire(`${packages}/`)("gltf-validator");
console.log(JSON.stringify(await validator.validateBytes(new Uint8Array(readFileSync(file)))));
