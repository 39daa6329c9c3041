// How the states of things look. What they mean is worked out by the server alone.
import type { Schemas } from "../api/client";

export type ModelState = Schemas["ModelView"]["state"];
export const modelStates: ModelState[] = ["running", "degraded", "starting", "downloading", "stopping", "stopped", "failed"];

/** The colour of a state, as a name of the theme's. The word is always beside it: colour alone tells nothing. */
export const stateColor: Record<ModelState, string> = {
  running: "teal",
  degraded: "orange",
  starting: "indigo",
  downloading: "blue",
  stopping: "grape",
  stopped: "gray",
  failed: "red",
};

export const endpointColor: Record<string, string> = { ready: "teal", starting: "indigo", unhealthy: "red", draining: "grape" };
export const nodeColor: Record<string, string> = { ready: "teal", cut_off: "orange", lost: "red" };

/** States in which something is about to change by itself. */
export const moving: ModelState[] = ["starting", "downloading", "stopping"];

/** What may be done with a model as it stands: the same rules as the command line's. */
export function deeds(state: ModelState): { start: boolean; stop: boolean; scale: boolean } {
  const wished = state !== "stopped" && state !== "stopping";
  return { start: !wished, stop: wished, scale: true };
}
