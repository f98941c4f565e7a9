// Draws a chart on a canvas. Loaded only by screens that have one.
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { ChartProps } from './charts.tsx';

const HEIGHT = 220;
const COLOURS = ['--chart-1', '--chart-2', '--chart-3'];

export default function Plot({ kind, x, xIsTime, series, mark, formatX, formatY }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    let plot: uPlot | undefined;
    const draw = () => {
      plot?.destroy();
      const styles = getComputedStyle(element);
      const colour = (name: string) => styles.getPropertyValue(name).trim();
      const axis = { stroke: colour('--muted'), grid: { stroke: colour('--line') }, ticks: { stroke: colour('--line') } };
      plot = new uPlot(
        {
          width: Math.max(element.clientWidth, 240),
          height: HEIGHT,
          scales: { x: { time: false } },
          legend: { show: series.length > 1 },
          cursor: { drag: { x: false, y: false } },
          axes: [
            { ...axis, values: (_, ticks) => ticks.map(formatX), space: xIsTime ? 110 : 60 },
            { ...axis, ...(formatY && { values: (_: uPlot, ticks: number[]) => ticks.map(formatY) }) },
          ],
          series: [
            {},
            ...series.map(({ label }, index) => {
              const stroke = colour(COLOURS[index % COLOURS.length] ?? '--chart-1');
              return {
                label,
                stroke,
                width: 2,
                ...(kind === 'bars' && { fill: `${stroke}55`, paths: uPlot.paths.bars?.({ size: [0.8, 60] }), points: { show: false } }),
              };
            }),
          ],
          hooks: {
            draw: [
              (drawn) => {
                if (!mark) return;
                const at = drawn.valToPos(mark.x, 'x', true);
                const { ctx, bbox } = drawn;
                ctx.save();
                ctx.strokeStyle = colour('--danger');
                ctx.setLineDash([6, 4]);
                ctx.beginPath();
                ctx.moveTo(at, bbox.top);
                ctx.lineTo(at, bbox.top + bbox.height);
                ctx.stroke();
                ctx.fillStyle = colour('--text');
                ctx.fillText(mark.label, at + 6, bbox.top + 12);
                ctx.restore();
              },
            ],
          },
        },
        [[...x], ...series.map(({ values }) => [...values])] as uPlot.AlignedData,
        element,
      );
    };
    draw();
    const resized = new ResizeObserver(draw);
    resized.observe(element);
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', draw);
    return () => {
      resized.disconnect();
      scheme.removeEventListener('change', draw);
      plot?.destroy();
    };
  }, [kind, x, xIsTime, series, mark, formatX, formatY]);
  return <div className="plot" ref={place} aria-hidden="true" />;
}
