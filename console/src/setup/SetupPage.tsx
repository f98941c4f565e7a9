export const SetupPage = () => <main id="main" />;
