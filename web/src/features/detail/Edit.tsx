import type { ModelDetail } from "../../api/models";
export default function Edit(_: { model: ModelDetail; onClose: () => void }) {
  return null;
}
