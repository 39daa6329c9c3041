/** What the address of this page holds beside its path. */
export function search(_: Record<string, unknown>): Record<string, never> {
  return {};
}
