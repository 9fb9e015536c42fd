import { headers } from 'next/headers';
export default async function Page() {
  const host = (await headers()).get('host');
  return <main>hello from {host}</main>;
}
