// The same request as a program would send it. Every text of people or models goes through the quoting of the language that it stands in.
import type { ChatRequest } from "./chat";

export type Language = "curl" | "python" | "javascript";

export type Call = { path: "/v1/chat/completions" | "/v1/embeddings"; body: object };

/** A text for a POSIX shell that nothing in it can end. */
export function shell(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A value as JSON in which what cannot be seen, or turns what is around it, is escaped. JavaScript reads it as it is. */
export function json(value: unknown, indent = 2): string {
  return JSON.stringify(value, null, indent).replace(
    /[\u007F-\u009F\u061C\u200B-\u200F\u2028-\u202E\u2060-\u2069\uFEFF]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A value as Python writes it. */
export function python(value: unknown, depth = 0): string {
  const pad = "    ".repeat(depth + 1);
  const end = "    ".repeat(depth);
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return value.length === 0 ? "[]" : `[\n${value.map((v) => `${pad}${python(v, depth + 1)},\n`).join("")}${end}]`;
  if (typeof value === "object") {
    const entries = Object.entries(value);
    return entries.length === 0 ? "{}" : `{\n${entries.map(([k, v]) => `${pad}${json(k)}: ${python(v, depth + 1)},\n`).join("")}${end}}`;
  }
  return json(value);
}

export function snippet(language: Language, origin: string, call: Call): string {
  const url = origin + call.path;
  const streams = (call.body as Partial<ChatRequest>).stream === true;
  if (language === "curl") {
    return [
      `curl ${streams ? "-N " : ""}${shell(url)} \\`,
      `  -H "Authorization: Bearer $NEBULA_KEY" \\`,
      "  -H 'Content-Type: application/json' \\",
      `  -d ${shell(json(call.body))}`,
    ].join("\n");
  }
  return language === "python" ? pythonCall(origin, call, streams) : javascriptCall(url, call, streams);
}

function pythonCall(origin: string, call: Call, streams: boolean): string {
  const what = call.path === "/v1/embeddings" ? "embeddings" : "chat.completions";
  const args = Object.entries(call.body).map(([k, v]) => `    ${k}=${python(v, 1)},`);
  const print = streams
    ? ["for chunk in answer:", "    if chunk.choices:", '        print(chunk.choices[0].delta.content or "", end="", flush=True)']
    : ["for item in answer.data:", "    print(item.embedding)"];
  return [
    "# pip install openai",
    "import os",
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${json(`${origin}/v1`)}, api_key=os.environ["NEBULA_KEY"])`,
    `answer = client.${what}.create(`,
    ...args,
    ")",
    ...print,
  ].join("\n");
}

function javascriptCall(url: string, call: Call, streams: boolean): string {
  const read = streams
    ? ["for await (const part of answer.body.pipeThrough(new TextDecoderStream())) process.stdout.write(part);"]
    : ["console.log(await answer.json());"];
  return [
    `const answer = await fetch(${json(url)}, {`,
    '  method: "POST",',
    '  headers: { Authorization: "Bearer " + process.env.NEBULA_KEY, "Content-Type": "application/json" },',
    `  body: JSON.stringify(${json(call.body).replaceAll("\n", "\n  ")}),`,
    "});",
    "if (!answer.ok) throw new Error(await answer.text());",
    ...read,
  ].join("\n");
}
