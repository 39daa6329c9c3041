import { lazy, Suspense, useDeferredValue } from "react";

const Markdown = lazy(() => import("./Markdown"));

/** An answer that is longer is shown as plain text while it comes: to read its Markdown anew for each piece would take longer than a frame. */
const mostLive = 12_000;

/** What a model said. It is Markdown to most models; whatever else is in it is shown as the text that it is. */
export function Answer({ text, live }: { text: string; live: boolean }) {
  const later = useDeferredValue(text);
  const plain = <div className="talk-plain">{text}</div>;
  return (
    <div className={`talk-answer foreign${live ? " talk-cursor" : ""}`} dir="auto" data-testid="answer">
      {text !== "" &&
        (live && text.length > mostLive ? (
          plain
        ) : (
          <Suspense fallback={plain}>
            <Markdown text={live ? later : text} />
          </Suspense>
        ))}
    </div>
  );
}
