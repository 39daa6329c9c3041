// Downloads as one figure.
import type { Schemas } from "../api/client";

export type Download = Schemas["DownloadProgress"];
export type Progress = { done: number; total: number; speed: number; verifying: boolean };

/** All downloads of a model together; null when there are none under way, or nobody knows how large they are. */
export function progressOf(downloads: Download[] | null | undefined): Progress | null {
  const open = (downloads ?? []).filter((d) => d.phase === "downloading" || d.phase === "verifying");
  const total = open.reduce((n, d) => n + d.total_bytes, 0);
  if (total <= 0) return null;
  return {
    done: Math.min(
      total,
      open.reduce((n, d) => n + d.downloaded_bytes, 0),
    ),
    total,
    speed: open.reduce((n, d) => n + d.speed_bytes_per_sec, 0),
    verifying: open.every((d) => d.phase === "verifying"),
  };
}
