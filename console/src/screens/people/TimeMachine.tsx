// Chooses an instant: a slider over the changes in the ledger, and a field for any other date.
import { useEffect, useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Label } from 'react-aria-components/Label';
import { Slider, SliderThumb, SliderTrack } from 'react-aria-components/Slider';
import { Button } from '../../components/Button.tsx';
import { Time, useExactTime } from '../../components/Time.tsx';
import { InstantField } from '../access/InstantField.tsx';

const TYPING_MILLISECONDS = 500;

export interface Stop {
  at: string;
  text: string;
}

interface TimeMachineProps {
  /** The changes, the oldest first. */
  stops: readonly Stop[];
  since: string;
  until: string | undefined;
  /** Undefined is now. */
  asOf: string | undefined;
  onChange: (asOf: string | undefined) => void;
}

/** The last stop that is not after the instant. */
const placeOf = (stops: readonly Stop[], asOf: string | undefined) => {
  if (asOf === undefined) return stops.length;
  const at = Date.parse(asOf);
  let place = 0;
  for (const [index, stop] of stops.entries()) if (Date.parse(stop.at) <= at) place = index;
  return place;
};

export function TimeMachine({ stops, since, until, asOf, onChange }: TimeMachineProps) {
  const { t } = useTranslation('people');
  const exact = useExactTime();
  const settled = placeOf(stops, asOf);
  const [place, setPlace] = useState(settled);
  useEffect(() => setPlace(settled), [settled]);
  const [typed, setTyped] = useState(asOf);
  useEffect(() => setTyped(asOf), [asOf]);
  useEffect(() => {
    if (typed === asOf) return;
    const timer = setTimeout(() => onChange(typed), TYPING_MILLISECONDS);
    return () => clearTimeout(timer);
    // Only typing starts the timer.
  }, [typed]);
  const describe = useMemo(
    () => (index: number) => {
      const stop = stops[index];
      return stop ? `${exact(stop.at)}: ${stop.text}` : t('time.now');
    },
    [stops, exact, t],
  );
  const go = (next: number) => onChange(stops[next]?.at);
  const dragged = place !== settled;
  return (
    <div className="time-machine">
      {stops.length > 0 && (
        <Slider
          className="slider"
          minValue={0}
          maxValue={stops.length}
          value={place}
          onChange={(value) => setPlace(value as number)}
          onChangeEnd={(value) => go(value as number)}
        >
          <div className="slider-head">
            <Label>{t('time.slider')}</Label>
            <output>{dragged || asOf === undefined ? describe(place) : <Time at={asOf} exact />}</output>
          </div>
          <SliderTrack className="slider-track">
            {({ state }) => (
              <>
                <div className="slider-fill" style={{ inlineSize: `${state.getThumbPercent(0) * 100}%` }} />
                <SliderThumb className="slider-thumb" aria-valuetext={describe(place)} />
              </>
            )}
          </SliderTrack>
        </Slider>
      )}
      <div className="time-tools">
        <Button icon="arrowLeft" isDisabled={place <= 0} onPress={() => go(Math.max(0, settled - 1))} aria-label={t('time.before')} />
        <Button
          icon="arrowRight"
          isDisabled={settled >= stops.length}
          onPress={() => go(settled + 1)}
          aria-label={t('time.after')}
        />
        <InstantField label={t('time.field')} value={typed} min={since} max={until} onChange={setTyped} />
        <Button isDisabled={asOf === undefined} onPress={() => onChange(undefined)}>
          {t('time.now')}
        </Button>
      </div>
      {asOf !== undefined && (
        <p className="muted" role="status">
          {t('time.shown', { at: exact(asOf), what: stops[settled]?.text ?? t('time.beforeAll') })}
        </p>
      )}
    </div>
  );
}
