// The codes of reasons, failures and fits as titles. The sentence that comes with a code is the server's and stays as it is.
import type { Translate } from "../lib/i18n";

const reasons = [
  "no_nodes",
  "unschedulable",
  "engine_not_installed",
  "node_gone",
  "node_cut_off",
  "replica_draining",
  "node_draining",
  "pending_placement",
  "waiting_for_node",
  "downloading",
  "loading",
  "draining",
  "unreadable_document",
  "port_in_use",
  "model_missing",
  "not_gguf",
  "model_truncated",
  "unsupported_arch",
  "out_of_memory",
  "bad_flag",
  "bad_install",
  "no_gpu",
  "hub_error",
  "hub_auth",
  "disk_full",
  "download_failed",
  "invalid_model",
  "start_stalled",
  "probe_failed",
  "engine_crash",
  "crash_loop",
  "lora_error",
  "admission_rejected",
  "unsupported_source",
  "fits",
  "fits_on_cpu",
  "no_gpus",
  "no_room",
  "wrong_gpus",
  "refused",
  "cordoned",
  "pinned_elsewhere",
  "not_connected",
] as const;

/** The title of a code; one that this console does not know is shown as it is. */
export function reasonTitle(code: string, t: Translate): string {
  const known = reasons.find((r) => r === code);
  return known ? t(`reason.${known}`) : code;
}
