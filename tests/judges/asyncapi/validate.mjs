// Validates the AsyncAPI document on stdin; prints the parser's diagnostics as JSON. Run in a folder with node_modules.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const { Parser } = createRequire(`${process.cwd()}/`)('@asyncapi/parser');
const diagnostics = await new Parser().validate(readFileSync(0, 'utf8'));
console.log(JSON.stringify(diagnostics.map(({ severity, code, message, path }) => ({ severity, code, message, path }))));
