import { screenPath } from './paths.ts';
import { screenPattern, screens } from './screens.ts';
import { useViewer } from './viewer.tsx';

const patterns = screens.map((screen) => ({ screen, pattern: screenPattern(screen.path) }));

/** The address of a screen, if there is one and the viewer may see it. The path may have a query. */
export function useScreenHref(): (path: string) => string | undefined {
  const viewer = useViewer();
  return (path) => {
    const bare = path.replace(/\?.*/, '');
    const found = patterns.find((each) => each.pattern.test(bare));
    return found && viewer.mayAll(found.screen.needs) ? screenPath(viewer.organization.slug, path) : undefined;
  };
}
