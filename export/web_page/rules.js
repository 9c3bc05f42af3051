/** Which bin, by the rules in `spec.json`; the same as `Rules.decide` of recycle_tf/evaluation/rules.py. */

const names = (rules) => Object.keys(rules.bins);

/** The bin with the lowest expected cost: `{bin, probability, label, sure}`; `label` is its most probable class. */
export function decide({rules, labels, threshold = 0}, probabilities) {
  const bins = names(rules);
  const binOf = labels.map((label) => rules.classes[label].bin);
  const share = bins.map((bin) => labels.reduce((sum, _, i) => sum + (binOf[i] === bin ? probabilities[i] : 0), 0));
  const cost = (chosen) =>
    bins.reduce((sum, bin, i) => sum + (bin === chosen ? 0 : share[i] * rules.costs[bin][chosen]), 0);
  const bin = bins.reduce((best, one) => (cost(one) < cost(best) ? one : best));
  let label = null;
  labels.forEach((one, i) => {
    if (binOf[i] === bin && (label === null || probabilities[i] > probabilities[labels.indexOf(label)])) label = one;
  });
  const probability = share[bins.indexOf(bin)];
  return {bin, probability, label, sure: probability >= threshold};
}

/** The text in a language, or in another one if it is missing. */
export function localized(texts, language) {
  return texts[language] ?? texts.en ?? texts.ko;
}
