// A drawing of the form in the vendor's console, with the two fields marked. Ours: no picture of anybody's product.
import { useTranslation } from 'react-i18next';
import type { Form } from './providers.ts';

const WIDTH = 520;
const LEFT = 24;
const FIELD_HEIGHT = 34;
const ROW_HEIGHT = 66;
const TOP = 78;

export function FormPicture({ form, provider }: { form: Form; provider: string }) {
  const { t } = useTranslation('setup');
  const height = TOP + form.fields.length * ROW_HEIGHT + 62;
  const marked = form.fields.filter((field) => field.mark);
  const label = t('picture.label', {
    provider,
    path: form.path.join(' › '),
    fields: marked.map((field) => `${field.label}: ${t(`picture.${field.mark ?? 'url'}`)}`).join('; '),
  });
  return (
    <figure className="picture">
      <svg viewBox={`0 0 ${WIDTH} ${height}`} role="img" aria-label={label} direction="ltr">
        <rect className="picture-window" x="1" y="1" width={WIDTH - 2} height={height - 2} rx="10" />
        <path className="picture-bar" d={`M1 36V11a10 10 0 0 1 10-10h${WIDTH - 22}a10 10 0 0 1 10 10v25z`} />
        <circle className="picture-dot" cx="18" cy="18" r="4" />
        <circle className="picture-dot" cx="32" cy="18" r="4" />
        <circle className="picture-dot" cx="46" cy="18" r="4" />
        <text className="picture-title" x="66" y="23">
          {provider}
        </text>
        <text className="picture-path" x={LEFT} y="60">
          {form.path.join('  ›  ')}
        </text>
        {form.fields.map((field, index) => {
          const top = TOP + index * ROW_HEIGHT;
          return (
            <g key={field.label} className={field.mark ? 'picture-marked' : undefined}>
              <text className="picture-name" x={LEFT} y={top + 12}>
                {field.label}
              </text>
              <rect className="picture-field" x={LEFT} y={top + 20} width={WIDTH - 2 * LEFT - 44} height={FIELD_HEIGHT} rx="6" />
              <text className="picture-value" x={LEFT + 12} y={top + 42}>
                {field.mark ? t(`picture.${field.mark}`) : field.value}
              </text>
              {field.mark && (
                <>
                  <circle className="picture-mark" cx={WIDTH - LEFT - 18} cy={top + 37} r="15" />
                  <text className="picture-letter" x={WIDTH - LEFT - 18} y={top + 43} textAnchor="middle">
                    {field.mark === 'url' ? 'A' : 'B'}
                  </text>
                </>
              )}
            </g>
          );
        })}
        <rect
          className="picture-button"
          x={LEFT}
          y={height - 50}
          width={Math.max(90, form.button.length * 9 + 28)}
          height="32"
          rx="6"
        />
        <text className="picture-action" x={LEFT + 14} y={height - 29}>
          {form.button}
        </text>
      </svg>
      <figcaption className="muted">{t('picture.caption')}</figcaption>
    </figure>
  );
}
