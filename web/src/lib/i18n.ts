// The console speaks English and Simplified Chinese. Each language is a chunk of its own, loaded when it is chosen.
import i18next, { type TFunction } from "i18next";
import { initReactI18next } from "react-i18next";
import type en from "./i18n/en";
import { type Language, preferred, storeKey } from "./language";

declare module "i18next" {
  interface CustomTypeOptions {
    defaultNS: "common";
    resources: typeof en;
    strictKeyChecks: true;
  }
}

const texts: Record<Language, () => Promise<{ default: object }>> = { en: () => import("./i18n/en"), zh: () => import("./i18n/zh") };

async function load(language: Language) {
  const resources = (await texts[language]()).default as Record<string, object>;
  for (const [ns, keys] of Object.entries(resources)) i18next.addResourceBundle(language, ns, keys, true, true);
}

function mark(language: Language) {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
}

/** The language and its texts, for the smallest parts, of which a page has hundreds: they are drawn again by what is around them, which follows the language. */
export function spoken(): { t: TFunction; language: string } {
  return { t: i18next.t, language: i18next.language };
}

/** Makes texts available; to be awaited before anything is shown. */
export async function startI18n(language = preferred(localStorage.getItem(storeKey), navigator.languages)) {
  await i18next.use(initReactI18next).init({
    lng: language,
    fallbackLng: false,
    defaultNS: "common",
    resources: {},
    interpolation: { escapeValue: false }, // React escapes
    returnNull: false,
  });
  await load(language);
  mark(language);
}

/** Changes the language of the page, and keeps the choice. */
export async function speak(language: Language) {
  await load(language);
  await i18next.changeLanguage(language);
  localStorage.setItem(storeKey, language);
  mark(language);
}

/** Gives a text of a namespace; without one, of the words that all pages share. */
export type Translate<Ns extends keyof typeof en = "common"> = TFunction<Ns>;
