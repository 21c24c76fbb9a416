// Check an AsyncAPI document with the official parser: `node validate.mjs ../docs/asyncapi.json`.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
// Severity 0 is an error; the only lower finding is that a newer version of AsyncAPI exists.
const wrong = diagnostics.filter((each) => each.severity === 0 || each.code !== "asyncapi-latest-version");
for (const each of wrong) console.error(each.code, each.path.join("/"), each.message);
console.log(document ? `${document.channels().length} channels, ${document.operations().length} operations` : "invalid");
process.exit(wrong.length || !document ? 1 : 0);
