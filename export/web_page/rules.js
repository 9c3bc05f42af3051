/** Which bin, by the rules in `spec.json`; the same as `Rules.decide` of recycle_tf/evaluation/rules.py. */

/** The bin with the lowest expected cost: `{bin, probability, label, sure}`; `label` is its most probable class. */
export function decide({rules, labels, threshold = 0}, probabilities) {
  const bins = Object.keys(rules.bins);
  const likely = (label) => probabilities[labels.indexOf(label)];
  const members = (bin) => labels.filter((label) => rules.classes[label].bin === bin);
  const share = (bin) => members(bin).reduce((sum, label) => sum + likely(label), 0);
  const cost = (chosen) =>
    bins.reduce((sum, bin) => sum + (bin === chosen ? 0 : share(bin) * rules.costs[bin][chosen]), 0);
  const bin = bins.reduce((best, one) => (cost(one) < cost(best) ? one : best));
  const label = members(bin).reduce((best, one) => (best && likely(best) >= likely(one) ? best : one), null);
  return {bin, probability: share(bin), label, sure: share(bin) >= threshold};
}

/** The text in a language, or in another one if it is missing. */
export function localized(texts, language) {
  return texts[language] ?? texts.en ?? texts.ko;
}
