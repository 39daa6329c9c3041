// Which language the console speaks.

export const languages = { en: "English", zh: "简体中文" } as const;
export type Language = keyof typeof languages;

/** Where the browser keeps the language that was chosen. */
export const storeKey = "nebula-language";

/** The language that was chosen here, else the first of the browser's that is spoken. */
export function preferred(stored: string | null, wanted: readonly string[]): Language {
  if (stored === "en" || stored === "zh") return stored;
  for (const w of wanted) {
    if (/^zh\b/i.test(w)) return "zh";
    if (/^en\b/i.test(w)) return "en";
  }
  return "en";
}
