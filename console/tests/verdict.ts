// Writes which tests failed, and which passed only the second time, into the file that CONSOLE_VERDICT names: tests/console
// says it again in its last lines.
import { appendFileSync } from 'node:fs';
import type { FullResult, Reporter, Suite, TestCase } from '@playwright/test/reporter';

const COLOURS = /\u001b\[[0-9;]*m/g;

export default class Verdict implements Reporter {
  private root: Suite | undefined;
  private readonly faults: string[] = [];

  onBegin(_: unknown, suite: Suite) {
    this.root = suite;
  }

  onError({ message }: { message?: string }) {
    this.faults.push(`failed  ${firstLine(message)}`);
  }

  onEnd({ status }: FullResult) {
    const file = process.env.CONSOLE_VERDICT;
    if (!file) return;
    const lines = [...this.faults];
    for (const test of this.root?.allTests() ?? []) {
      if (test.outcome() === 'flaky') lines.push(`flaky   ${titleOf(test)}: ${firstLine(test.results[0]?.error?.message)}`);
      if (test.outcome() === 'unexpected') lines.push(`failed  ${titleOf(test)}: ${firstLine(test.results.at(-1)?.error?.message)}`);
    }
    if (status !== 'passed' && lines.length === 0) lines.push(`failed  the browser's tests: ${status}`);
    appendFileSync(file, lines.map((line) => `${line}\n`).join(''));
  }
}

const titleOf = (test: TestCase) => `${test.location.file.replace(/^.*\//, '')}:${test.location.line} ${test.title}`;

const firstLine = (text = 'no message') => {
  const lines = text.replaceAll(COLOURS, '').split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '').slice(0, 4).join(' ').slice(0, 300);
};
