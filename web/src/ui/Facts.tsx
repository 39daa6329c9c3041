import type { ReactNode } from "react";
import { Unknown } from "./bits";

/** Names with what they stand for, in two columns. What is not known says so. */
export function Facts({ facts }: { facts: [name: string, value: ReactNode][] }) {
  return (
    <dl className="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd className="foreign">{value === undefined || value === null || value === "" ? <Unknown /> : value}</dd>
        </div>
      ))}
    </dl>
  );
}
