/** Is an image unlike those of the training? The same as `make_answer` of recycle_tf/evaluation/answers.py. */

/** The probability that it is: what is missing to a sum of 1. */
export function unlike(probabilities) {
  return Math.max(0, 1 - probabilities.reduce((sum, one) => sum + one, 0));
}

/** Whether an app says so instead of naming a class; a network without familiarity knows everything. */
export function isUnlike(spec, probabilities) {
  return spec.unlike !== undefined && unlike(probabilities) >= spec.unlike.threshold;
}
