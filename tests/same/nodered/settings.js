// The password is "secret" (bcrypt), as the securing guide has it; nothing is asked of the outside.
module.exports = {
  flowFile: 'flows.json', credentialSecret: 'site', uiPort: process.env.PORT || 1880, uiHost: '127.0.0.1',
  adminAuth: { type: 'credentials', users: [{ username: 'ann', password: require('bcryptjs').hashSync('secret', 8), permissions: '*' }] },
  telemetry: { enabled: false, updateNotification: false },
  editorTheme: { tours: false },
  externalModules: { autoInstall: false },
};
