// The two pictures that are in each row of a long list, as small as a picture can be: one path each, the rest is style. All others are icons of the kit.

export function DotsGlyph() {
  return (
    <svg className="glyph" viewBox="0 0 24 24" aria-hidden="true">
      <path d="M5 12h.01M12 12h.01M19 12h.01" />
    </svg>
  );
}

export function CopyGlyph() {
  return (
    <svg className="glyph" viewBox="0 0 24 24" aria-hidden="true">
      <path d="M9 7h10a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H9a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2zM4 17a2 2 0 0 1-1-2V5a2 2 0 0 1 2-2h10a2 2 0 0 1 2 1" />
    </svg>
  );
}
