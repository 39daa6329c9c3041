// Draws Markdown. HTML in it is not read, addresses of other kinds than the web's are dropped, and pictures are not loaded: what a model writes could
// otherwise tell somebody else what was asked.
import { Anchor } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import ReactMarkdown, { type Components } from "react-markdown";
import gfm from "remark-gfm";
import { Copy } from "../../ui/bits";

const components: Components = {
  a: ({ href, children }) =>
    href ? (
      <Anchor href={href} target="_blank" rel="noopener noreferrer nofollow" underline="always">
        {children}
      </Anchor>
    ) : (
      <span>{children}</span>
    ),
  img: ({ alt, src }) => <span>{alt || (typeof src === "string" ? src : "")}</span>,
  pre: ({ children }) => <Block>{children}</Block>,
};

const plugins = [gfm];

export default function Markdown({ text }: { text: string }) {
  return (
    <ReactMarkdown remarkPlugins={plugins} components={components}>
      {text}
    </ReactMarkdown>
  );
}

function Block({ children }: { children?: ReactNode }) {
  const { t } = useTranslation("playground");
  return (
    <div className="talk-code">
      {/* What scrolls must be reachable by keyboard. */}
      <pre tabIndex={0}>{children}</pre>
      <span className="talk-copy">
        <Copy text={textOf(children)} label={t("copyCode")} />
      </span>
    </div>
  );
}

function textOf(node: ReactNode): string {
  if (typeof node === "string" || typeof node === "number") return String(node);
  if (Array.isArray(node)) return node.map(textOf).join("");
  if (node && typeof node === "object" && "props" in node) return textOf((node.props as { children?: ReactNode }).children);
  return "";
}
